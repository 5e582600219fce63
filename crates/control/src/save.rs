//! Run-time changes are written into the file.

use crate::change::{SaveFault, Saved};
use crate::live::{Actor, Control};

impl Control {
    pub(crate) async fn save_now(&self, by: &Actor) -> Result<Saved, SaveFault> {
        let _ = by;
        Err(SaveFault::NoFile)
    }
}
