//! How a hub's connection begins and ends.

use std::collections::VecDeque;

use captures::Failure;

use super::{HUB, Hub, USUAL_STREAMS};
use crate::client;
use crate::drive::link::{Handshake, Link};
use crate::drive::{MAX_DIALLED, Worker};
use crate::http2::{Tag, Talk};
use crate::lane::LaneKey;
use crate::order::Order;
use crate::tls;

impl Worker<'_> {
    /// Begins a connection; `None` when `tag` must wait because too many are being made.
    pub(super) fn open_hub(&mut self, key: Option<LaneKey>, tag: Tag) -> Result<Option<u32>, Failure> {
        if self.dialled >= MAX_DIALLED {
            self.begin_waiting(tag.0);
            self.dialling.push_back(tag);
            return Ok(None);
        }
        if self.connections >= self.limits.max_connections {
            return Err(Failure::SkippedDescriptors);
        }
        let now = self.clock.now();
        // As recorded, the server's limit is the only one.
        let most = if key.is_some() { usize::MAX } else { self.limits.streams.unwrap_or(USUAL_STREAMS) };
        let talk = Talk::new(self.wire.tls.is_some(), most);
        let number =
            self.hubs.free.pop().unwrap_or_else(|| u32::try_from(self.hubs.all.len()).unwrap_or(HUB));
        let generation = self.hubs.all.get(number as usize).map_or(0, |hub| hub.generation).wrapping_add(1);
        let hub = Hub {
            key,
            link: Link::Closed,
            talk,
            generation,
            waiting: VecDeque::new(),
            is_last: false,
            is_roomy: false,
            is_coming: false,
            last_used: now,
        };
        match self.hubs.all.get_mut(number as usize) {
            Some(place) => *place = hub,
            None => self.hubs.all.push(hub),
        }
        match self.dial(u64::from(generation) << 32 | u64::from(HUB | number)) {
            Ok(socket) => {
                self.hubs.all[number as usize].link = Link::Connecting { socket, since: now };
                match key {
                    Some(key) => {
                        self.hubs.keys.insert(key, number);
                    }
                    None => {
                        self.hubs.all[number as usize].is_coming = true;
                        self.hubs.coming += 1;
                    }
                }
                Ok(Some(number))
            }
            Err(failure) => {
                self.hubs.free.push(number);
                Err(failure)
            }
        }
    }

    pub(super) fn on_hub_connected(&mut self, hub: u32) {
        let now = self.clock.now();
        let of_hub = &mut self.hubs.all[hub as usize];
        let Link::Connecting { socket, .. } = &of_hub.link else { return };
        if let Err(failure) = client::connected(socket) {
            return self.on_hub_failed(hub, failure);
        }
        let Link::Connecting { socket, since } = std::mem::replace(&mut of_hub.link, Link::Closed) else {
            return;
        };
        self.meter.at(now).connections_opened += 1;
        self.connects.push((now.second(), now.since(since)));
        let Some(of_target) = &self.wire.tls else {
            of_hub.link = Link::Open { socket, tls: None, used: false };
            return self.on_hub_open(hub);
        };
        match of_target.begin() {
            Some(tls) => {
                of_hub.link = Link::Shaking { socket, handshake: Box::new(Handshake { tls, since: now }) };
                self.shake_hub(hub);
            }
            None => {
                of_hub.link = Link::Connecting { socket, since };
                self.on_hub_failed(hub, Failure::Tls);
            }
        }
    }

    pub(super) fn shake_hub(&mut self, hub: u32) {
        let of_hub = &mut self.hubs.all[hub as usize];
        let Link::Shaking { socket, handshake } = &mut of_hub.link else { return };
        match tls::shake(&mut handshake.tls, socket) {
            Ok(false) => {}
            Err(failure) => self.on_hub_failed(hub, failure),
            // A target that chose nothing speaks HTTP/1.1.
            Ok(true) if !tls::chose_http2(&handshake.tls) => self.on_hub_failed(hub, Failure::Invalid),
            Ok(true) => {
                let now = self.clock.now();
                if let Link::Shaking { socket, handshake } = std::mem::replace(&mut of_hub.link, Link::Closed)
                {
                    let Handshake { tls, since } = *handshake;
                    self.handshakes.push((now.second(), now.since(since)));
                    of_hub.link = Link::Open { socket, tls: Some(tls), used: false };
                    self.on_hub_open(hub);
                }
            }
        }
    }

    fn on_hub_open(&mut self, hub: u32) {
        self.dialled -= 1;
        self.look_after(hub);
    }

    pub(super) fn close_hub(&mut self, hub: u32) {
        let of_hub = &mut self.hubs.all[hub as usize];
        let link = std::mem::replace(&mut of_hub.link, Link::Closed);
        if matches!(link, Link::Closed) {
            return;
        }
        of_hub.generation = of_hub.generation.wrapping_add(1);
        self.connections -= 1;
        self.dialled -= usize::from(matches!(link, Link::Connecting { .. } | Link::Shaking { .. }));
        self.hubs.coming -= usize::from(std::mem::take(&mut of_hub.is_coming));
        if of_hub.is_roomy {
            self.hubs.roomy.retain(|other| *other != hub);
        }
        // Another may have taken its place meanwhile.
        if let Some(key) = of_hub.key.filter(|key| self.hubs.keys.get(key) == Some(&hub)) {
            self.hubs.keys.remove(&key);
            if self.hubs.orders.get(&key).is_some_and(Order::is_empty) {
                self.hubs.orders.remove(&key);
            }
        }
        self.hubs.free.push(hub);
    }
}
