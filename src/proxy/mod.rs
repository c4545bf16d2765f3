//! The call, top to bottom: the one place where the rooms meet on the request path.

mod settings;

pub use settings::{
    LedgerFull, ListenerSettings, PriceUnknown, ShutdownSettings, TlsSettings, WhenSettings,
};
