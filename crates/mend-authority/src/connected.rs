//! What tonic asks of a connection it serves: the stream's own answer.

use tonic::transport::server::Connected;

use crate::Mended;

impl<T: Connected> Connected for Mended<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.get_ref().connect_info()
    }
}
