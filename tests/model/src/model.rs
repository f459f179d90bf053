//! The world as `stateright` goes through it: where it begins, what can happen, what must hold.

use stateright::{Model, Property};

use crate::{
    budget::Config,
    properties::{
        LOGOUT_IS_FINAL, NOBODY_AFTER_THEFT, NOBODY_IS_LOGGED_OUT, NOT_TWO_HOLDERS, NOTHING_FOR_THIEVES, WAY_BACK,
        has_not_two_holders, has_token, has_way_back, is_logout_final, nobody_has_stolen_goods, nobody_is_logged_out,
    },
    thief::Thief,
    world::{State, Step},
};

/// A world to be checked.
#[derive(Clone, Debug)]
pub struct World(pub Config);

impl Model for World {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::logged_in(&self.0)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        state.possible(&self.0, actions);
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut next = last.clone();
        next.happen(step, &self.0);
        next.seal();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOBODY_IS_LOGGED_OUT, |_, state| nobody_is_logged_out(state)),
            Property::always(WAY_BACK, |world, state| has_way_back(&world.0, state)),
            Property::always(NOT_TWO_HOLDERS, |world, state| has_not_two_holders(&world.0, state)),
            Property::always(NOBODY_AFTER_THEFT, |world, state| world.0.bound || nobody_has_stolen_goods(state)),
            Property::always(NOTHING_FOR_THIEVES, |world, state| !world.0.bound || !has_token(state, &Thief::cid())),
            Property::always(LOGOUT_IS_FINAL, |world, state| is_logout_final(&world.0, state)),
        ]
    }

    fn format_action(&self, step: &Step) -> String {
        format!("{step:?}")
    }
}
