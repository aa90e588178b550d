//! The client and the server of the namespace clusters; see the module `probe` of this crate.

use anyhow::{Context as _, Result, bail};
use integration::probe::{Request, client, server};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name, port] => {
            server::serve(name, port.parse()?).with_context(|| format!("serve port {port}"))
        }
        ["ask", request] => {
            let request: Request = serde_json::from_str(request).context("read the request")?;
            println!("{}", serde_json::to_string(&client::run(&request))?);
            Ok(())
        }
        _ => bail!("usage: probe serve NAME PORT | probe ask REQUEST"),
    }
}
