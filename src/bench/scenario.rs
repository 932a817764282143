//! Scenario: workloads that are more than one request over and over.

use super::control::{Control, RunError};
use super::record::{Record, Target};
use super::spec::Spec;

/// Runs one.
pub fn run(spec: &Spec, _target: &Target, _control: &Control) -> Result<Record, RunError> {
    Err(RunError::Spec(format!("the workload \"{}\" is not in this release", spec.workload)))
}
