//! Everything of the browser that the page touches: the session with its worker, files, camera, clipboard, address.

pub mod dom;
pub mod intake;
pub mod samples;
pub mod session;
pub mod video;
pub mod window;
