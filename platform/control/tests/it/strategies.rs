//! Services whose weight moves from one revision to the next: step by step, halted, given up, superseded, and through a death.

use crate::fixture::{Platform, name, namespace, until, wanted};
use skiff_api::{
    ChangeRollout, ClientError, Deployment, DeploymentState, ErrorCode, PutDeploymentConfiguration,
    PutService, RolloutAction, Service,
};
use skiff_ports::runtime::DesiredRoute;
use skiff_ports::snapshot::HostMatch;
use skiff_types::{Span, StrategyName, TaskDefinitionId};

const TEST_HOST: &str = "green.example";
/// Long enough for a test to see a step, which may take as long as it likes to.
const LONG: Span = Span::from_ms(600_000);
/// What a test waits for the end of.
const SHORT: Span = Span::from_ms(200);

fn canary(canary_bake: Span, bake: Span) -> PutDeploymentConfiguration {
    PutDeploymentConfiguration {
        strategy: Some(StrategyName::Canary),
        canary_percent: Some(10),
        canary_bake: Some(canary_bake),
        bake: Some(bake),
        test_hosts: Some(vec![TEST_HOST.parse().unwrap()]),
        ..Default::default()
    }
}

impl Platform {
    /// Puts `shop` on a new revision, two tasks of it.
    async fn shop_goes_to(&self, program: &str, deployment: PutDeploymentConfiguration) -> TaskDefinitionId {
        self.push("shop", program).await;
        let revision = self.register("shop", "shop").await.id;
        let body = PutService { deployment: Some(deployment), ..wanted(&revision.to_string(), 2) };
        self.client.put_service(&namespace(), &name("shop"), &body, None).await.unwrap();
        revision
    }

    /// What the node was told last of where requests go.
    fn shop_route(&self) -> Option<DesiredRoute> {
        self.node.desired().routes.into_iter().find(|route| route.service.name == name("shop"))
    }

    /// How many requests of a hundred go to the revision that comes, as the node was told, where they are divided.
    fn shop_percent(&self) -> Option<u16> {
        self.shop_route()?.split.map(|split| split.percent)
    }

    /// Waits until the node knows that requests are no longer divided.
    async fn shop_is_whole(&self) {
        until("nothing is divided", || async { self.shop_percent().is_none().then_some(()) }).await;
    }

    async fn shop_is(&self, what: &str, is: impl Fn(&Deployment) -> bool) -> Service {
        until(what, || async {
            let service = self.service("shop").await;
            is(&service.status.deployment).then_some(service)
        })
        .await
    }

    async fn on_shop(&self, action: RolloutAction) -> Result<Service, ClientError> {
        self.client.change_rollout(&namespace(), &name("shop"), &ChangeRollout { action }).await
    }
}

fn percent(deployment: &Deployment) -> Option<u16> {
    deployment.shift.as_ref().map(|shift| shift.percent)
}

fn is_complete(deployment: &Deployment) -> bool {
    deployment.state == DeploymentState::Completed
}

#[tokio::test]
async fn weight_moves_step_by_step_and_each_step_is_an_event() {
    let platform = Platform::start().await;
    let first = platform.shop_goes_to("http one", canary(SHORT, SHORT)).await;
    let service = platform.shop_is("the first rolls", is_complete).await;
    assert_eq!(service.spec.deployment.strategy, StrategyName::Canary);
    assert_eq!((platform.shop_percent(), service.status.deployment.shift), (None, None));
    let is_tested = |host: &HostMatch| *host == HostMatch::Pattern(TEST_HOST.parse().unwrap());
    let route = platform.shop_route().expect("it is routed");
    assert!(route.hosts.iter().any(is_tested), "it is a host like others meanwhile");

    let second = platform.shop_goes_to("http two", canary(SHORT, SHORT)).await;
    let service = platform.shop_is("the second completes", is_complete).await;
    assert_eq!(service.status.deployment.definition, second);
    platform.shop_is_whole().await;
    assert_eq!(platform.running("shop").await.len(), 2);
    let told: Vec<String> = service.status.events.iter().rev().map(|event| event.message.clone()).collect();
    let place = |text: String| {
        let place = told.iter().position(|message| message.starts_with(&text));
        place.unwrap_or_else(|| panic!("{text}: {told:?}"))
    };
    let places = [
        place(format!("{second} comes up beside {first}")),
        place(format!("10% of all requests go to {second}")),
        place(format!("100% of all requests go to {second}")),
        place(format!("all requests stay with {second}; {first} goes")),
        place(format!("the deployment of {second} is complete")),
    ];
    assert!(places.is_sorted(), "{told:?}");
    platform.assert_node_is_content();
}

#[tokio::test]
async fn a_step_is_held_over_a_restart_and_what_is_given_up_has_no_request_any_more() {
    let platform = Platform::start().await;
    let first = platform.shop_goes_to("http one", canary(LONG, LONG)).await;
    platform.shop_is("the first rolls", is_complete).await;
    let second = platform.shop_goes_to("http two", canary(LONG, LONG)).await;
    let is_first = |deployment: &Deployment| percent(deployment) == Some(10);
    let service = platform.shop_is("it is at its first step", is_first).await;
    let shift = service.status.deployment.shift.unwrap();
    assert_eq!((&shift.blue, &shift.green, shift.step, shift.steps), (&first, &second, 1, 2));
    let next_at_ms = shift.next_at_ms.expect("it says when the next step comes");
    until("the node knows", || async { (platform.shop_percent() == Some(10)).then_some(()) }).await;
    let route = platform.shop_route().unwrap();
    let split = route.split.unwrap();
    assert_eq!((split.green.len(), split.test_hosts.len(), route.targets.len()), (2, 1, 4));

    let platform = Platform::start_on(platform.stop().await).await;
    platform.handle.ready().await;
    until("both sides serve again", || async {
        let route = platform.shop_route()?;
        (route.split?.percent == 10 && route.targets.len() == 4).then_some(())
    })
    .await;
    let service = platform.service("shop").await;
    assert_eq!(service.status.deployment.shift.unwrap().next_at_ms, Some(next_at_ms), "where it was");

    assert!(platform.on_shop(RolloutAction::Pause).await.unwrap().status.deployment.paused);
    let is_held =
        |deployment: &Deployment| deployment.shift.as_ref().is_some_and(|shift| shift.next_at_ms.is_none());
    platform.shop_is("it is held", is_held).await;
    platform.on_shop(RolloutAction::Resume).await.unwrap();
    platform.shop_is("it goes on", |deployment| !is_held(deployment)).await;
    let error = platform.on_shop(RolloutAction::Resume).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::FailedPrecondition), "it is not paused");

    platform.on_shop(RolloutAction::Abort).await.unwrap();
    let is_back = |deployment: &Deployment| is_complete(deployment) && deployment.rolled_back_from.is_some();
    let service = platform.shop_is("it is back", is_back).await;
    assert_eq!(service.status.deployment.definition, first);
    let told: Vec<&str> = service.status.events.iter().map(|event| event.message.as_str()).collect();
    for expected in ["is paused", "goes on", "all requests go to"] {
        assert!(told.iter().any(|message| message.contains(expected)), "{expected}: {told:?}");
    }
    let running = platform.running("shop").await;
    assert!(running.len() == 2 && running.iter().all(|task| task.definition == first), "{running:?}");
    platform.shop_is_whole().await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn another_deployment_takes_the_place_of_one_whose_weight_moves() {
    let platform = Platform::start().await;
    let first = platform.shop_goes_to("http one", canary(LONG, LONG)).await;
    platform.shop_is("the first rolls", is_complete).await;
    platform.shop_goes_to("http two", canary(LONG, LONG)).await;
    platform.shop_is("it is at its first step", |deployment| percent(deployment) == Some(10)).await;
    let third = platform.shop_goes_to("http three", canary(SHORT, SHORT)).await;
    let is_third = |deployment: &Deployment| {
        deployment.definition == third && deployment.shift.as_ref().is_some_and(|shift| shift.blue == first)
    };
    platform.shop_is("the third is beside the first", is_third).await;
    let is_done = |deployment: &Deployment| is_complete(deployment) && deployment.definition == third;
    platform.shop_is("it completes", is_done).await;
    platform.assert_node_is_content();
}

#[tokio::test]
async fn what_a_strategy_does_not_have_is_refused() {
    let platform = Platform::start().await;
    platform.shop_goes_to("http one", canary(LONG, LONG)).await;
    let foreign = PutDeploymentConfiguration { step_percent: Some(10), ..Default::default() };
    let revision = platform.service("shop").await.spec.definition.to_string();
    let body = PutService { deployment: Some(foreign), ..wanted(&revision, 2) };
    let error = platform.client.put_service(&namespace(), &name("shop"), &body, None).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidArgument));
}
