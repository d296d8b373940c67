//! A reference to an endpoint. The plan, the table and every lease name endpoints; none of them
//! should hold a copy or need a lookup.

use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};

use super::Endpoint;

/// One endpoint of a port's shared list; derefs to [`Endpoint`].
#[derive(Clone)]
pub struct EndpointRef {
    list: Arc<[Endpoint]>,
    index: u32,
}

impl EndpointRef {
    /// All endpoints of a list.
    pub fn all(list: &Arc<[Endpoint]>) -> impl Iterator<Item = Self> + use<'_> {
        (0..list.len()).map(|index| Self { list: list.clone(), index: index as u32 })
    }
}

impl Deref for EndpointRef {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.list[self.index as usize]
    }
}

impl Borrow<Endpoint> for EndpointRef {
    fn borrow(&self) -> &Endpoint {
        self
    }
}

impl fmt::Debug for EndpointRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
