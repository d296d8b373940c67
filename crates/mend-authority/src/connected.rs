//! tonic's trait for connections that it serves. It passes calls on to the inner stream.

use tonic::transport::server::Connected;

use crate::Mended;

impl<T: Connected> Connected for Mended<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.get_ref().connect_info()
    }
}
