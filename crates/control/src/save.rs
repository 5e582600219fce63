//! Run-time changes are written into the file.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use keel_config::Source;
use keel_config::edit::{EditFault, EditedFile, EntryChange, NewEntry, PoolEdit, edit};
use keel_config::model::{Model, Pool};

use crate::change::{ChangeFault, SaveFault, Saved, ServerState};
use crate::live::{Actor, Control};
use crate::machine::{Machine, load_file};
use crate::overlay::{Overlay, PoolOverlay};

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
        let busy = || SaveFault::Edit(ChangeFault::Busy.to_string());
        let mut engine = self.hold().await.ok_or_else(busy)?;
        let (model, overlay) = (engine.file.clone(), engine.overlay.clone());
        let work = move || write(&file, &model, &overlay);
        let work = tokio::task::spawn_blocking(work).await;
        let (saved, model, overlay) =
            work.map_err(|cause| SaveFault::Edit(cause.to_string()))??;
        if saved.files.is_empty() {
            return Ok(saved);
        }
        // The same servers from another place: published so that everybody is told the same.
        let found = engine.found.clone();
        engine.file = Arc::new(model);
        if let Err(refusal) = self.overlaid(engine, overlay, found).await {
            let fault = ChangeFault::from(refusal);
            return Err(SaveFault::Edit(format!(
                "the file is written, but: {fault}"
            )));
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
    for one in &edited {
        replace(one).map_err(|cause| SaveFault::Write {
            file: one.path.clone(),
            cause,
        })?;
    }
    let (model, _) =
        load_file(file).map_err(|found| SaveFault::Edit(keel_config::render_all(&found, false)))?;
    let mut left = overlay.clone();
    left.saved(&model);
    let count = |it: &PoolEdit| it.removed.len() + it.changed.len() + it.added.len();
    let saved = Saved {
        files: edited.into_iter().map(|it| it.path).collect(),
        servers: edits.iter().map(count).sum(),
    };
    Ok((saved, model, left))
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

/// Puts a new file in the old one's place, so that nobody ever reads half of it. The place behind a
/// symbolic link is meant.
fn replace(edited: &EditedFile) -> std::io::Result<()> {
    let path = std::fs::canonicalize(&edited.path)?;
    let before = std::fs::metadata(&path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let mut file = std::fs::File::create(&beside)?;
    // Only root can give it to another; whoever may write here may also own the file.
    let _ = std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()));
    let written = file
        .write_all(edited.text.as_bytes())
        .and_then(|()| file.set_permissions(before.permissions()))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&beside, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}
