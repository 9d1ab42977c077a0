//! The worker: everything heavy runs here. It fetches the model or reads it from a file, hands requests to the engine one after the other, and asks
//! the browser to decode what our own decoders do not read. While many pictures wait, further instances of it help ([`hand`]). It does not know
//! the page.

#[cfg(target_arch = "wasm32")]
mod access;
#[cfg(target_arch = "wasm32")]
mod ahead;
#[cfg(target_arch = "wasm32")]
mod arriving;
#[cfg(target_arch = "wasm32")]
mod blob;
#[cfg(target_arch = "wasm32")]
mod browser_decoder;
#[cfg(target_arch = "wasm32")]
mod download;
#[cfg(target_arch = "wasm32")]
mod fetch;
#[cfg(target_arch = "wasm32")]
mod gate;
#[cfg(target_arch = "wasm32")]
mod hand;
#[cfg(target_arch = "wasm32")]
mod hands;
#[cfg(target_arch = "wasm32")]
mod lock;
#[cfg(target_arch = "wasm32")]
mod look;
#[cfg(target_arch = "wasm32")]
mod own_file;
#[cfg(target_arch = "wasm32")]
mod store;
#[cfg(target_arch = "wasm32")]
mod threads;
#[cfg(target_arch = "wasm32")]
mod work;

fn main() {
    #[cfg(target_arch = "wasm32")]
    if hand::is_hand() {
        hand::start();
    } else if !threads::is_helper() {
        work::start();
    }
}
