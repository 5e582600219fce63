//! From answers to servers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::table::{Answer, Question};
use super::{AllOf, FoundServer, Place, SERVERS_MAX, Service, Target};
use crate::resolve::{HostAnswer, ServiceAnswer, ServiceRecord};

/// Weights of records that share a priority with one of weight 0 grow by this, so that the latter's
/// share is as small as RFC 2782 wants it.
const ZERO_SHARE: u32 = 100;
/// The greatest weight of a server.
const WEIGHT_MAX: u32 = 65_535;

impl Target {
    /// What has to be asked for it.
    pub(super) fn question(&self) -> Question {
        match self {
            Target::One(server) => Question::Host(server.address.host.clone()),
            Target::All(all) => Question::Host(all.address.host.clone()),
            Target::Service(service) => Question::Service(service.name.clone()),
        }
    }

    /// Where its servers belong; a server with many addresses is there already.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Target::One(_) => None,
            Target::All(all) => Some(&all.place),
            Target::Service(service) => Some(&service.place),
        }
    }

    /// The servers that an answer makes, and how many were too many.
    pub(super) fn servers(&self, answer: &Answer) -> (Vec<FoundServer>, usize) {
        let mut servers = match (self, answer) {
            (Target::All(all), Answer::Host(answer)) => of_addresses(all, answer),
            (Target::Service(service), Answer::Service(answer)) => of_service(service, answer),
            _ => Vec::new(),
        };
        servers.sort_unstable();
        let left_out = servers.len().saturating_sub(SERVERS_MAX);
        servers.truncate(SERVERS_MAX);
        (servers, left_out)
    }
}

fn of_addresses(all: &AllOf, answer: &HostAnswer) -> Vec<FoundServer> {
    let server = |ip: IpAddr| {
        let address = SocketAddr::new(ip, all.address.port);
        FoundServer {
            name: address.to_string(),
            address,
            host: all.address.host.clone(),
            weight: all.weight,
            tier: all.tier,
        }
    };
    answer.addresses().map(server).collect()
}

fn of_service(service: &Service, answer: &ServiceAnswer) -> Vec<FoundServer> {
    let reachable = |record: &&ServiceRecord| record.addresses.is_some();
    let mut by_priority: BTreeMap<u16, Vec<&ServiceRecord>> = BTreeMap::new();
    for record in answer.records.iter().filter(reachable) {
        by_priority.entry(record.priority).or_default().push(record);
    }
    let mut by_address: BTreeMap<SocketAddr, FoundServer> = BTreeMap::new();
    for (rank, records) in by_priority.values().enumerate() {
        let rank = u8::try_from(rank).unwrap_or(u8::MAX);
        let tier = service.tier.saturating_add(rank);
        let scale = zero_scale(records);
        for record in records {
            let weight = u32::from(record.weight).saturating_mul(scale).max(1);
            for ip in record.addresses.iter().flatten() {
                let address = SocketAddr::new(*ip, record.port);
                // An address that is there already has the better tier.
                let server = by_address.entry(address).or_insert_with(|| FoundServer {
                    name: address.to_string(),
                    address,
                    host: record.target.clone(),
                    weight: 0,
                    tier,
                });
                if server.tier == tier {
                    server.weight = (server.weight + weight).min(WEIGHT_MAX);
                }
            }
        }
    }
    by_address.into_values().collect()
}

/// What the weights of a priority are multiplied by; 0 stands for 1 afterwards.
fn zero_scale(records: &[&ServiceRecord]) -> u32 {
    let weights = || records.iter().map(|record| u32::from(record.weight));
    let most = weights().max().unwrap_or(0);
    let mixed = most > 0 && weights().any(|weight| weight == 0);
    match mixed && most * ZERO_SHARE <= WEIGHT_MAX {
        true => ZERO_SHARE,
        false => 1,
    }
}

#[cfg(test)]
mod tests;
