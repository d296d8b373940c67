//! gRPC: the details of an error, a deadline, a watch.

use std::{
    env,
    error::Error,
    time::{Duration, Instant},
};

use pointsman::{PickRequest, WatchServiceRequest, agent_client::AgentClient};
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::{ErrorInfo, StatusExt};

mod pointsman {
    tonic::include_proto!("pointsman.v1");
}

async fn connect(variable: &str) -> Result<AgentClient<Channel>, Box<dyn Error>> {
    Ok(AgentClient::connect(env::var(variable)?).await?)
}

fn code(status: &Status) -> &str {
    match status.code() {
        Code::NotFound => "NOT_FOUND",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        // tonic's status if its own clock ends the call.
        Code::Cancelled => "CANCELLED",
        other => other.description(),
    }
}

fn info(status: &Status) -> ErrorInfo {
    status.get_details_error_info().unwrap_or_else(|| ErrorInfo::new("no details", "", []))
}

fn pick(service: &str, wait: Duration) -> PickRequest {
    let wait = wait.try_into().ok();
    PickRequest { service: service.to_owned(), wait, ..Default::default() }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut agent = connect("POINTSMAN_SOCKET").await?;
    let mut silent = connect("POINTSMAN_SILENT_SOCKET").await?;

    if let Err(status) = agent.pick(pick("crat.shop", Duration::ZERO)).await {
        let info = info(&status);
        println!("error {} {} {}", code(&status), info.reason, info.metadata["near"]);
    }

    if let Err(status) = silent.pick(pick("cart.shop", Duration::from_millis(200))).await {
        println!("wait {} {}", code(&status), info(&status).reason);
    }

    let began = Instant::now();
    let mut limited = Request::new(pick("cart.shop", Duration::from_secs(5)));
    limited.set_timeout(Duration::from_millis(500));
    if let Err(status) = silent.pick(limited).await {
        println!("deadline {} {} ms", code(&status), began.elapsed().as_millis());
    }

    let request = WatchServiceRequest { service: "changing.shop".to_owned(), ..Default::default() };
    let mut events = agent.watch_service(request).await?.into_inner();
    print!("watch");
    for _ in 0..2 {
        let event = events.message().await?.ok_or("the watch ended")?;
        print!(" {}", event.r#type().as_str_name());
    }
    println!();
    Ok(())
}
