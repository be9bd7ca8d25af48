//! Who sits where: so many connections in all, so many from one address, and which of them rest.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The seats of a server.
pub struct Seats {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// Counts what happens, so that rests have an order.
    tick: u64,
    seats: HashMap<u64, Sitting>,
    /// Resting connections, by when they began to rest.
    resting: BTreeMap<u64, u64>,
    of: HashMap<IpAddr, usize>,
}

struct Sitting {
    address: IpAddr,
    /// Since when it rests; `None` while a request is under way.
    rests_since: Option<u64>,
    evicted: CancellationToken,
}

impl Seats {
    /// So many seats, of which one address may have so many.
    pub fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, taken: Mutex::default() }
    }

    /// A seat for a connection that begins by resting. Where there is none, the one that has rested longest makes room:
    /// of the same address if that has its share, of any otherwise. `None` when all of those are busy.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Seat>> {
        let address = share_of(address);
        let mut taken = self.taken();
        if taken.of.get(&address).is_some_and(|count| *count >= self.most_of_one) {
            taken.evict(|sitting| sitting.address == address)?;
        } else if taken.seats.len() >= self.most {
            taken.evict(|_| true)?;
        }
        taken.tick += 1;
        let (id, evicted) = (taken.tick, CancellationToken::new());
        taken.seats.insert(id, Sitting { address, rests_since: Some(id), evicted: evicted.clone() });
        taken.resting.insert(id, id);
        *taken.of.entry(address).or_default() += 1;
        Some(Arc::new(Seat { seats: self.clone(), id, evicted }))
    }

    fn taken(&self) -> parking_lot::MutexGuard<'_, Taken> {
        self.taken.lock()
    }
}

/// What one party has: an address of version 4, or the network of 64 bits that a party of version 6 usually has.
fn share_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Taken {
    /// Takes its seat from the connection that has rested longest among some.
    fn evict(&mut self, among: impl Fn(&Sitting) -> bool) -> Option<()> {
        let fits = |id: &u64| self.seats.get(id).is_some_and(&among);
        let id = self.resting.values().copied().find(fits)?;
        if let Some(sitting) = self.remove(id) {
            sitting.evicted.cancel();
        }
        Some(())
    }

    fn remove(&mut self, id: u64) -> Option<Sitting> {
        let sitting = self.seats.remove(&id)?;
        if let Some(since) = sitting.rests_since {
            self.resting.remove(&since);
        }
        if let Some(count) = self.of.get_mut(&sitting.address) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&sitting.address);
            }
        }
        Some(sitting)
    }

    fn set_busy(&mut self, id: u64, busy: bool) {
        self.tick += 1;
        let Some(sitting) = self.seats.get_mut(&id) else { return };
        if let Some(since) = sitting.rests_since.take() {
            self.resting.remove(&since);
        }
        if !busy {
            sitting.rests_since = Some(self.tick);
            self.resting.insert(self.tick, id);
        }
    }
}

/// A connection's seat; given back when it is dropped.
pub struct Seat {
    seats: Arc<Seats>,
    id: u64,
    evicted: CancellationToken,
}

impl Seat {
    /// Done when the connection has to make room.
    pub fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }

    /// Notes that a request is under way until the guard is dropped.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.seats.taken().set_busy(self.id, true);
        Busy(self.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().remove(self.id);
    }
}

/// A request that is under way.
pub struct Busy(Arc<Seat>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.seats.taken().set_busy(self.0.id, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn longest_idle_connection_is_closed_first() {
        let seats = Arc::new(Seats::new(3, 3));
        let [first, second, third] = [1, 2, 3].map(|last| seats.take(address(last)).unwrap());
        let busy = first.busy();
        drop(second.busy()); // it rests again, later than the third
        let fourth = seats.take(address(4)).unwrap();
        assert_eq!([&first, &second, &third].map(|seat| seat.evicted.is_cancelled()), [false, false, true]);
        let _busy = [second.busy(), fourth.busy()];
        assert!(seats.take(address(5)).is_none(), "all are busy");
        drop((busy, third));
        assert!(seats.take(address(5)).is_some());
        assert!(first.evicted.is_cancelled());
    }

    #[test]
    fn one_address_displaces_only_its_own_connections() {
        let seats = Arc::new(Seats::new(10, 2));
        let other = seats.take(address(1)).unwrap();
        let many: Vec<_> = (0..50).map(|_| seats.take(address(2)).unwrap()).collect();
        assert!(!other.evicted.is_cancelled());
        assert_eq!(many.iter().filter(|seat| !seat.evicted.is_cancelled()).count(), 2);
        drop(many);
        let taken = seats.taken();
        assert_eq!((taken.seats.len(), taken.resting.len(), taken.of.len()), (1, 1, 1));
    }

    #[test]
    fn ipv6_network_counts_as_one_address() {
        let [one, two, other] =
            ["2001:db8::1", "2001:db8::2:3:4:5", "2001:db8:0:1::1"].map(|text| share_of(text.parse().unwrap()));
        assert_eq!((one == two, one == other), (true, false));
        assert_eq!(share_of("::ffff:192.0.2.1".parse().unwrap()), address(1));
    }
}
