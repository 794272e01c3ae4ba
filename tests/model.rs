//! The daemon against a model of the contract: random sequences of what clients ask and of what can die.
//!
//! The sequences come from a fixed seed. `PROPTEST_RNG_SEED=N` tries others, `PROPTEST_CASES=N` more of them.
//! A failure is shrunk, printed as requests, and kept in `tests/model.proptest-regressions`.

mod model {
    mod contract;
    pub mod driver;
    mod steps;
    pub mod strategy;
}
mod support;

use std::cell::Cell;
use std::time::Duration;

use model::{driver, strategy};
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestError, TestRunner};

/// As many as run in about a minute on two cores.
const CASES: u32 = 200;
const SEED: u64 = 20_250_101;
/// Each has its share of the cases.
const THREADS: u32 = 2;
/// So long nothing may have changed before a test gives up waiting; less while a failure is shrunk.
const STILL: Duration = Duration::from_secs(15);
const STILL_AGAIN: Duration = Duration::from_secs(3);

#[test]
fn the_daemon_does_what_the_model_of_the_contract_does() {
    let given = Config::default();
    let seed = match given.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => SEED,
    };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { given.cases } else { CASES };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || hold(cases.div_ceil(THREADS), seed + u64::from(thread)));
        }
    });
}

fn hold(cases: u32, seed: u64) {
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/model.proptest-regressions"))),
        max_shrink_time: 120_000,
        ..Config::default()
    };
    let still = Cell::new(STILL);
    let outcome = TestRunner::new(config).run(&strategy::sequences(), |ops| {
        driver::run(&ops, still.get()).map_err(|why| {
            if still.replace(STILL_AGAIN) == STILL {
                eprintln!("seed {seed}, before it is shrunk: {why}");
            }
            TestCaseError::fail(why)
        })
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, _)) => panic!("seed {seed}: {why}"),
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
}
