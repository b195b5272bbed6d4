//! Everything that crosses a process or the network, on the real components.

mod janus;
mod support {
    pub mod janus;
    pub mod janus_proxy;
}
