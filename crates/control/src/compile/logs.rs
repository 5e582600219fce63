//! Access logs: destinations and formats.

use keel_config::codes;
use keel_config::model::{AccessLog, LogFormat, LogId, LogTarget};
use keel_observe::log::{
    Destination, Facility, FormatFault, LogSpec, SyslogTag, SyslogTarget, check_format,
};

use super::Report;

/// Positions of logs in the snapshot.
pub(super) fn positions(logs: &[LogId]) -> Vec<usize> {
    logs.iter().map(|log| usize::from(log.0)).collect()
}

/// What is to be opened.
pub(super) fn specs(report: &mut Report<'_>) -> Vec<LogSpec> {
    report
        .model
        .access_logs
        .iter()
        .filter_map(|log| spec(report, log))
        .collect()
}

fn spec(report: &mut Report<'_>, log: &AccessLog) -> Option<LogSpec> {
    let format = match &log.format.value {
        LogFormat::Named(named) => keel_config::Word::word(*named).to_owned(),
        LogFormat::Template(text) => text.clone(),
    };
    if let Err(fault) = check_format(&format) {
        match &fault {
            FormatFault::Template(fault) => report.bad_template(fault, &format, log.format.span),
            other => report.add(&codes::BAD_TEMPLATE, log.format.span, other.to_string(), ""),
        }
        return None;
    }
    let facility: Result<Facility, _> = keel_config::Word::word(log.facility).parse();
    let tag: Result<SyslogTag, _> = log.tag.parse();
    let (facility, tag) = match (facility, tag) {
        (Ok(facility), Ok(tag)) => (facility, tag),
        (Err(fault), _) | (_, Err(fault)) => {
            report.add(
                &codes::BAD_LOG_TARGET,
                log.target.span,
                fault.to_string(),
                "",
            );
            return None;
        }
    };
    Some(LogSpec {
        name: log.name.value.clone(),
        destination: destination(log),
        format,
        facility,
        tag,
    })
}

fn destination(log: &AccessLog) -> Destination {
    match &log.target.value {
        LogTarget::Stdout => Destination::Stdout,
        LogTarget::Stderr => Destination::Stderr,
        LogTarget::File(path) => Destination::File(path.clone()),
        LogTarget::SyslogUnix(path) => Destination::Syslog(SyslogTarget::Unix(path.clone())),
        LogTarget::SyslogUdp(address) => Destination::Syslog(SyslogTarget::Udp(*address)),
    }
}
