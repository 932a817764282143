//! Learners: what they ask of this leader for their clients.

use super::ledger::{Asker, Ledger, Wish};
use super::{Home, Sequencer};
use crate::auth::Identities;
use crate::engine::message::Outcome;
use crate::ground::ids::{SessionId, Zxid};
use crate::ground::time::Now;
use crate::proto::code::Code;
use crate::proto::jute::Reader;
use crate::proto::opcode;
use crate::proto::packet::{Forwarded, Packet};
use crate::session::State;
use crate::zab::Link;

impl Sequencer {
    /// A learner has said something on its clients' behalf.
    pub(super) fn hear_learner(&mut self, link: Link, packet: Packet, now: Now) {
        match packet {
            Packet::Ping { touched, .. } => {
                for (session, timeout_ms) in touched {
                    self.sessions.touch_with_timeout(session, timeout_ms, now.mono());
                }
            }
            packet => {
                let member = self.member.as_mut().expect("only a member has learners");
                member.asked.push_back((link, packet));
            }
        }
    }

    /// Takes what learners have asked, while there is room.
    pub(super) fn serve_learners(&mut self, now: Now) {
        while self.has_room()
            && let Some((link, packet)) = self.member.as_mut().and_then(|member| member.asked.pop_front())
        {
            match packet {
                Packet::Request(request) => self.request(link, &request, now),
                Packet::Revalidate { session, timeout_ms } => self.revalidate(link, session, timeout_ms, now),
                _ => {}
            }
        }
    }

    fn request(&mut self, link: Link, request: &Forwarded, now: Now) {
        let Forwarded { session, cxid, op, body, who } = request;
        let (session, cxid, op) = (*session, *cxid, *op);
        if op == opcode::SYNC {
            let mark = self.confirm(now);
            let member = self.member.as_mut().expect("only a member has learners");
            member.answer_learner(mark, link, Packet::Sync);
            return;
        }
        if op == opcode::CREATE_SESSION {
            let Ok(timeout_ms) = Reader::new(body).int() else { return };
            self.sessions.open(session, timeout_ms, now.mono(), Home::Learner(link));
            self.propose_session(session, cxid, timeout_ms, None, now);
            return;
        }
        let home = Home::Learner(link);
        if self.sessions.home(session) == Some(&Home::Nowhere) {
            self.sessions.set_home(session, home);
        }
        let standing = self.standing_of(session, home);
        if standing.is_ok() {
            self.sessions.touch(session, now.mono());
        }
        let owns = match self.sessions.state(session) {
            State::Open => Ok(()),
            State::Unknown | State::Closing => Err(Code::SessionExpired),
        };
        let header = self.header(session, cxid, now);
        if standing.is_ok() && op == opcode::CLOSE_SESSION {
            self.close(header, None, 0, now);
            return;
        }
        let who = Identities::told(who.iter().map(|(scheme, id)| (&**scheme, &**id)));
        let ledger = &mut self.ledger;
        // The learner waits for a transaction, whatever becomes of it.
        let wish = Ledger::read(op, body).unwrap_or_else(Wish::Refused);
        self.builder.add(header, op, None, 0, now.micros, |mut header, blob, steps| match standing {
            Ok(()) => ledger.write(&mut header, op, &wish, Asker { who: &who, owns }, blob, steps),
            Err(code) => {
                Ledger::refusal(&mut header, code, blob);
                Outcome::Refused(code)
            }
        });
    }

    /// A session comes to a learner. It is answered behind what it has asked elsewhere and is under way.
    fn revalidate(&mut self, link: Link, session: SessionId, timeout_ms: i32, now: Now) {
        let is_valid = self.sessions.state(session) == State::Open;
        if is_valid {
            self.hang_up_on_holder(session);
            self.sessions.set_home(session, Home::Learner(link));
            self.sessions.touch_with_timeout(session, timeout_ms, now.mono());
        }
        let mark = self.proposed;
        let answer = Packet::Revalidated { session, is_valid };
        let member = self.member.as_mut().expect("only a member has learners");
        if mark <= self.delivered {
            member.effects.push(crate::zab::Out::Send { link, packet: answer });
        } else {
            member.answer_learner(mark, link, answer);
        }
    }

    /// The transaction whose commitment proves that this server still led now: one that no learner has been sent yet. Where none is
    /// gathered, one that changes nothing is made.
    pub(super) fn confirm(&mut self, now: Now) -> Zxid {
        if cfg!(mutant = "m31") {
            self.answer_late();
            return self.proposed;
        }
        if self.builder.is_empty() {
            let header = self.header(SessionId::NONE, 0, now);
            self.builder.add(header, opcode::SYNC, None, 0, now.micros, |mut header, blob, _| {
                Ledger::refusal(&mut header, Code::Ok, blob);
                Outcome::Refused(Code::Ok)
            });
        }
        self.proposed
    }
}
