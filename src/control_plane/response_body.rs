//! The bytes of a stream's responses, as a body of HTTP/2.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    vec,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use http::HeaderMap;
use hyper::body::{Body, Frame};
use tonic::Status;
use xds::server::InPieces;

/// gRPC's prefix of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// hyper polls it while it has room for more. It takes the next response when all pieces of the last one are
/// gone.
pub(super) struct ResponseBody<S> {
    /// None: the last frame is gone.
    responses: Option<Pin<Box<S>>>,
    pieces: vec::IntoIter<Bytes>,
}

impl<S> ResponseBody<S> {
    pub(super) fn new(responses: S) -> Self {
        Self { responses: Some(Box::pin(responses)), pieces: Vec::new().into_iter() }
    }
}

impl<S, R> Body for ResponseBody<S>
where
    S: Stream<Item = Result<R, Status>>,
    R: InPieces,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(piece) = self.pieces.next() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let Some(responses) = &mut self.responses else { return Poll::Ready(None) };
            let status = match ready!(responses.as_mut().poll_next(cx)) {
                Some(Ok(response)) => match pieces(response) {
                    Ok(pieces) => {
                        self.pieces = pieces.into_iter();
                        continue;
                    }
                    Err(status) => status,
                },
                Some(Err(status)) => status,
                None => Status::ok(""),
            };
            self.responses = None;
            let mut trailers = HeaderMap::new();
            status.add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
    }
}

/// A response as gRPC frames it.
fn pieces(response: impl InPieces) -> Result<Vec<Bytes>, Status> {
    let length = response.encoded_len();
    let length = u32::try_from(length).map_err(|_| {
        Status::out_of_range(format!("a response of {length} bytes is too long for gRPC"))
    })?;
    let mut head = BytesMut::with_capacity(PREFIX);
    head.put_u8(0);
    head.put_u32(length);
    Ok(response.into_pieces(head))
}
