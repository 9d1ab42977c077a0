//! What a person sees, one component a file. Components get data and tell the session actions.

pub mod advice;
pub mod camera;
pub mod card;
pub mod comparison;
pub mod decision;
pub mod details;
pub mod empty;
pub mod experiments;
pub mod grid;
pub mod header;
pub mod methods;
pub mod presets;
pub mod prompts;
pub mod setup_bar;
pub mod shared;
pub mod shelves;
pub mod toolbar;
pub mod tour;
