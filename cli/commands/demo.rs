use crate::failure::Failure;
use clap::Args;
#[derive(Debug, Args)]
pub struct DemoArgs {}
pub fn run(_args: &DemoArgs) -> Result<u8, Failure> {
    Ok(0)
}
