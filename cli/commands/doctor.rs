use crate::context::Context;
use crate::failure::Failure;
use clap::Args;
#[derive(Debug, Args)]
pub struct DoctorArgs {}
pub fn run(_context: &Context, _args: &DoctorArgs) -> Result<u8, Failure> {
    Ok(0)
}
