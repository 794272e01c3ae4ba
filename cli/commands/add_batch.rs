use crate::context::Context;
use crate::failure::Failure;
use clap::Args;
#[derive(Debug, Args)]
pub struct AddBatchArgs {}
pub fn run(_context: &Context, _args: &AddBatchArgs) -> Result<u8, Failure> {
    Ok(0)
}
