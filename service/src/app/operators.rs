//! Lets operators ask the service, on its control socket. Must not know what they may ask.

use relogin_host::errors::Chain;
use tracing::{info, warn};

use crate::control::{ControlSocket, SocketPlace};

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
