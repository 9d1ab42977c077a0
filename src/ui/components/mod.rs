//! What a person sees, one component a file. Components get data and tell the session actions.

pub mod camera;
pub mod card;
pub mod decision;
pub mod details;
pub mod empty;
pub mod grid;
pub mod header;
pub mod presets;
pub mod prompts;
pub mod setup_bar;
pub mod shared;
pub mod toolbar;
