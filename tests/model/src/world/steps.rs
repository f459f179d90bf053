//! The steps that are possible in a state.

use relogin_client_proto::SessionState;

use crate::{
    budget::Config,
    gateway::{ANSWERS, USER},
    service::Fate,
    thief::Use,
};

use super::{Left, State, Step};

impl State {
    /// Adds all that can happen to `steps`.
    pub(crate) fn possible(&self, config: &Config, steps: &mut Vec<Step>) {
        let budget = &self.budget;
        for (number, tab) in self.tabs.iter().enumerate() {
            if tab.is_waiting() {
                steps.push(Step::Storage(number));
                if budget.reloads > 0 && tab.operation.is_some() {
                    steps.push(Step::Reload(number));
                }
                continue;
            }
            if tab.hint {
                steps.push(Step::Hint(number));
            }
            for lane in [ANSWERS, USER] {
                if self.connection(number).is_some_and(|connection| !connection.lanes[lane].is_empty()) {
                    steps.push(Step::Deliver(number, lane));
                }
            }
            if budget.timers > 0 && tab.client.poll_timeout().is_some() {
                steps.push(Step::Timer(number));
            }
            if budget.drops > 0 && tab.socket.is_some() {
                steps.push(Step::Drop(number));
            }
            if budget.reloads > 0 {
                steps.push(Step::Reload(number));
            }
            if budget.logouts > 0 && self.is_logged_in(number) {
                steps.push(Step::Logout(number));
            }
            let is_out = match tab.client.session() {
                SessionState::Ended(_) => true,
                SessionState::Anonymous => self.left == Left::Out,
                _ => false,
            };
            if budget.logins > 0 && is_out {
                steps.push(Step::Login(number));
            }
        }
        for (at, request) in self.up.iter().enumerate() {
            if at > 0 && self.up[at - 1] == *request {
                continue;
            }
            steps.push(Step::Serve(at, Fate::Whole));
            if budget.doubled > 0 {
                steps.push(Step::Serve(at, Fate::Doubled));
            }
            if budget.mute > 0 && self.gateway.0.contains_key(&request.cid) {
                steps.push(Step::Serve(at, Fate::Mute));
            }
            if budget.crashes > 0 {
                let count = self.service.steps(request, config.mutant);
                steps.extend((1..count).map(|upto| Step::Serve(at, Fate::Crash(upto))));
            }
            if budget.lost > 0 {
                steps.push(Step::Lose(at));
            }
        }
        if let Some(places) = &self.places {
            if budget.local_losses > 0 && places.local.is_some() {
                steps.push(Step::LoseLocal);
            }
            if budget.log_losses > 0 && places.is_logged() {
                steps.push(Step::LoseLog);
            }
            if budget.reverts > 0 && places.local != places.older {
                steps.push(Step::Revert);
            }
            if budget.silences > 0 && !places.is_silent {
                steps.push(Step::Silence(true));
            }
            if places.is_silent {
                steps.push(Step::Silence(false));
            }
        }
        if budget.copies > 0 && self.storage.is_some() {
            steps.push(Step::Copy);
        }
        if budget.uses > 0 && self.thief.loot.is_some() {
            for how in Use::ALL {
                let Some(request) = self.thieves_request(how).1 else { continue };
                steps.push(Step::Use(how, Fate::Whole));
                if budget.crashes > 0 {
                    let count = self.service.steps(&request, config.mutant);
                    steps.extend((1..count).map(|upto| Step::Use(how, Fate::Crash(upto))));
                }
            }
        }
    }

    /// Something that is under way already.
    pub(super) fn under_way(&self, frozen: Option<usize>) -> Option<Step> {
        for tab in self.tabs.iter().filter(|tab| Some(tab.number) != frozen) {
            let number = tab.number;
            if tab.is_waiting() {
                return Some(Step::Storage(number));
            }
            if tab.hint {
                return Some(Step::Hint(number));
            }
            let lanes = self.connection(number).map(|connection| &connection.lanes);
            let filled = |lane: &usize| lanes.is_some_and(|lanes| !lanes[*lane].is_empty());
            if let Some(lane) = [ANSWERS, USER].into_iter().find(filled) {
                return Some(Step::Deliver(number, lane));
            }
        }
        (!self.up.is_empty()).then_some(Step::Serve(0, Fate::Whole))
    }
}
