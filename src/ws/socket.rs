//! A second handle on each connection's socket: the only way to end one whose client does not read.
//!
//! The HTTP worker waits for such a client as long as it likes; shutting the socket down below it makes its
//! next write fail.

use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;

use actix_web::dev::Extensions;

#[derive(Clone)]
pub struct Socket(Arc<TcpStream>);

impl Socket {
    pub fn hang_up(&self) {
        // An error: it is closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// For `HttpServer::on_connect`.
pub fn keep_socket(connection: &dyn Any, data: &mut Extensions) {
    let stream = connection.downcast_ref::<actix_web::rt::net::TcpStream>();
    // Without a second handle (no descriptor is free) the connection still works.
    if let Some(handle) = stream.and_then(|stream| stream.as_fd().try_clone_to_owned().ok()) {
        data.insert(Socket(Arc::new(handle.into())));
    }
}
