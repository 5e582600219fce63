//! Run-time changes are written into the file.

use std::path::Path;
use std::sync::Arc;

use keel_config::Source;
use keel_config::edit::{EditFault, EntryChange, NewEntry, PoolEdit, edit};
use keel_config::model::{Model, Pool};

use crate::change::{ChangeFault, SaveFault, Saved, ServerState};
use crate::live::{Actor, Control};
use crate::machine::{Machine, load_file};
use crate::overlay::{Overlay, PoolOverlay};
use crate::replace::replace_all;

impl Control {
    pub(crate) async fn save_now(&self, by: &Actor) -> Result<Saved, SaveFault> {
        let outcome = self.try_save().await;
        match &outcome {
            Ok(saved) if saved.files.is_empty() => {
                tracing::info!(%by, "nothing to save: the file says what is served");
            }
            Ok(saved) => {
                let servers = saved.servers;
                tracing::info!(%by, servers, files = ?saved.files, "run-time changes saved");
            }
            Err(fault) => tracing::warn!(%by, "run-time changes not saved: {fault}"),
        }
        outcome
    }

    async fn try_save(&self) -> Result<Saved, SaveFault> {
        let file = self.0.file.clone().ok_or(SaveFault::NoFile)?;
        let mut engine = self.hold().await.ok_or(SaveFault::Busy)?;
        // The process that takes our place has changes that we do not know of.
        if self.0.drain.is_draining() {
            return Err(SaveFault::Stopping);
        }
        let (model, overlay) = (engine.file.clone(), engine.overlay.clone());
        let work = move || write(&file, &model, &overlay);
        let work = tokio::task::spawn_blocking(work).await;
        let (saved, model, overlay) =
            work.map_err(|cause| SaveFault::Written(format!("saving broke: {cause}")))??;
        if saved.files.is_empty() {
            return Ok(saved);
        }
        // The same servers from another place: published so that everybody is told the same.
        let found = engine.found.clone();
        engine.file = Arc::new(model);
        if let Err(refusal) = self.overlaid(engine, overlay, found).await {
            let fault = ChangeFault::from(refusal);
            return Err(written_but(&fault.to_string()));
        }
        Ok(saved)
    }
}

/// What was written, the file's model then, and what is still a run-time change.
fn write(
    file: &Path,
    model: &Model,
    overlay: &Overlay,
) -> Result<(Saved, Model, Overlay), SaveFault> {
    let edits: Vec<PoolEdit> = model
        .pools
        .iter()
        .filter_map(|pool| Some(pool_edit(pool, overlay.pools.get(&pool.name.value)?)))
        .filter(|edit| {
            !edit.removed.is_empty() || !edit.changed.is_empty() || !edit.added.is_empty()
        })
        .collect();
    let source = || Source::file(file, &Machine);
    let edited = edit(source(), model, &edits).map_err(|fault| match fault {
        EditFault::Changed(name) => SaveFault::Changed(name.into()),
        other => SaveFault::Edit(other.to_string()),
    })?;
    replace_all(&edited, |path| is_as_loaded(model, path))?;
    let (model, _) =
        load_file(file).map_err(|found| written_but(&keel_config::render_all(&found, false)))?;
    let mut left = overlay.clone();
    left.saved(&model);
    let count = |it: &PoolEdit| it.removed.len() + it.changed.len() + it.added.len();
    let saved = Saved {
        files: edited.into_iter().map(|it| it.path).collect(),
        servers: edits.iter().map(count).sum(),
    };
    Ok((saved, model, left))
}

fn written_but(fault: &str) -> SaveFault {
    SaveFault::Written(format!("the file is written, but: {fault}"))
}

/// Whether a file still says what the model was loaded from.
fn is_as_loaded(model: &Model, path: &Path) -> bool {
    let mut files = model.sources.files().iter();
    let read = files.find(|it| Path::new(&it.name) == path);
    let now = std::fs::read_to_string(path);
    match (read, now) {
        (Some(read), Ok(now)) => *now.strip_prefix('\u{feff}').unwrap_or(&now) == *read.text,
        _ => false,
    }
}

fn pool_edit(pool: &Pool, changes: &PoolOverlay) -> PoolEdit {
    let mut edit = PoolEdit {
        pool: pool.name.value.clone(),
        ..PoolEdit::default()
    };
    for (position, server) in pool.servers.iter().enumerate() {
        let name = &server.name.value;
        if changes.removed.contains(name) {
            edit.removed.insert(position);
            continue;
        }
        let Some(change) = changes.servers.get(name) else {
            continue;
        };
        let wanted = change.written(server);
        let change = EntryChange {
            weight: (wanted.weight != server.weight).then_some(wanted.weight),
            down: (wanted.down != server.down).then_some(wanted.down),
        };
        if change != EntryChange::default() {
            edit.changed.insert(position, change);
        }
    }
    for (name, server) in &changes.added {
        let change = changes.servers.get(name);
        let weight = change.and_then(|it| it.weight).or(server.weight);
        let out = matches!(
            change.and_then(|it| it.state),
            Some(ServerState::Drain { .. } | ServerState::Down)
        );
        edit.added.push(NewEntry {
            name: server.name.clone(),
            address: server.address.clone(),
            weight: weight.unwrap_or(1),
            max_connections: server.max_connections.unwrap_or(0),
            tier: server.tier.unwrap_or(0),
            down: out,
        });
    }
    edit
}
