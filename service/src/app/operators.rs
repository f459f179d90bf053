//! Where operators reach a service: its control socket, and NATS. Must not know what they may ask.

use std::path::PathBuf;

use bytes::Bytes;
use relogin_bus::nats::NatsConfig;
use relogin_host::errors::Chain;
use tracing::{info, warn};

use super::{config::BusKind, open::connect};
use crate::control::{self, ControlSocket, SocketPlace, client::ControlPlace};

/// Where a running service answers operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorPlace {
    /// At this socket.
    Socket(PathBuf),
    /// On NATS, under this resource name.
    Nats(NatsConfig, String),
}

impl OperatorPlace {
    /// Connects, if that is needed before anything is asked.
    ///
    /// # Errors
    /// If NATS cannot be reached.
    pub async fn reach(self) -> anyhow::Result<ControlPlace> {
        Ok(match self {
            Self::Socket(path) => ControlPlace::Socket(path),
            Self::Nats(nats, name) => {
                let (bus, nats) = connect(BusKind::Nats(nats)).await?;
                if let Some(nats) = nats {
                    // Nobody answers a message without a reply subject.
                    for subject in [control::bus::subject(&name), control::bus::subject_of_each(&name)] {
                        nats.publish_or_refuse(&subject, Bytes::new()).await?;
                    }
                }
                ControlPlace::Bus(bus, name)
            }
        })
    }
}

/// The socket, if there is to be one. A service without a data folder has none unless it is asked
/// for, and one in the data folder is not worth failing for: its path may be too long.
pub(super) async fn open_socket(place: &SocketPlace, has_data_folder: bool) -> anyhow::Result<Option<ControlSocket>> {
    let path = match place {
        SocketPlace::At(path) => path,
        SocketPlace::InData(path) if has_data_folder => path,
        SocketPlace::InData(_) | SocketPlace::Off => return Ok(None),
    };
    match ControlSocket::open(path).await {
        Ok(socket) => {
            info!("operators are answered on {}", path.display());
            Ok(Some(socket))
        }
        Err(error) if matches!(place, SocketPlace::InData(_)) => {
            warn!("operators cannot ask this service: {}", Chain(&error));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
