//! Secret: the password of a session, which any server of an ensemble derives from the session's id.
//!
//! ZooKeeper keeps no secret: it seeds `java.util.Random` with the id and a constant known to everybody, so a password proves
//! nothing against somebody who can guess ids. Clients that move between our servers and Java's need the same bytes.

use core::hint::black_box;

use crate::ground::ids::SessionId;
use crate::proto::connect::PASSWORD_LEN;

/// `ZooKeeperServer.superSecret`.
const SUPER_SECRET: i64 = 0xB341_5C00;

/// The linear congruential generator that the documentation of `java.util.Random` specifies: 48 bits of state.
struct JavaRandom(u64);

impl JavaRandom {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;

    const fn seeded(seed: i64) -> Self {
        Self((seed.cast_unsigned() ^ Self::MULTIPLIER) & Self::MASK)
    }

    /// The 32 high bits of the next state.
    const fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(Self::MULTIPLIER).wrapping_add(0xB) & Self::MASK;
        (self.0 >> 16) as u32
    }
}

/// The password of a session.
#[must_use]
pub fn password(session: SessionId) -> [u8; PASSWORD_LEN] {
    let mut random = JavaRandom::seeded(session.0 ^ SUPER_SECRET);
    let mut bytes = [0; PASSWORD_LEN];
    for word in bytes.chunks_exact_mut(4) {
        word.copy_from_slice(&random.next().to_le_bytes());
    }
    bytes
}

/// Whether a client's password is that of the session. [`SessionId::NONE`] has none. Takes the same time wherever the bytes
/// differ.
#[must_use]
pub fn verify(session: SessionId, given: &[u8]) -> bool {
    if session == SessionId::NONE || given.len() != PASSWORD_LEN {
        return false;
    }
    let pairs = password(session).into_iter().zip(given);
    pairs.fold(0, |differ, (a, &b)| black_box(differ | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_the_java_server() {
        let known = [
            (0x0100_0000_0000_0000, 0xf22a_cd4a_97e6_9d6d_20a4_9bb6_38ea_db38),
            (0x1, 0x054c_c74a_3732_7db2_15e7_02e2_0c73_f005),
            (0x0300_001a_2b3c_0000, 0x065c_db38_1bc4_3020_548d_d85f_5ced_3f15_u128),
        ];
        for (id, bytes) in known {
            assert_eq!(u128::from_be_bytes(password(SessionId(id))), bytes);
            assert!(verify(SessionId(id), &bytes.to_be_bytes()));
        }
    }

    #[test]
    fn a_wrong_password_is_refused_whatever_is_wrong_with_it() {
        let id = SessionId(-7);
        let right = password(id);
        for i in 0..PASSWORD_LEN {
            let mut wrong = right;
            wrong[i] ^= 0x80;
            assert!(!verify(id, &wrong));
        }
        assert!(verify(id, &right) && !verify(id, &right[..15]) && !verify(id, &[]) && !verify(SessionId(-6), &right));
        assert!(!verify(SessionId::NONE, &password(SessionId::NONE)));
    }
}
