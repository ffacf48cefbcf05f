//! `skiff nodes …`.

use crate::args::NodesCommand;
use crate::context::{Context, all_pages};
use crate::{human, output};
use skiff_api::{Node, NodeResources, PageQuery};

pub(crate) async fn run(context: &Context, command: &NodesCommand) -> anyhow::Result<()> {
    match command {
        NodesCommand::Ls => list(context).await,
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let client = &context.client()?;
    let nodes = all_pages(|cursor| async move {
        let query = PageQuery { limit: Some(PageQuery::LIMIT_MAX), cursor };
        client.list_nodes(&query).await
    })
    .await?;
    context.output.print(&nodes, || table(&nodes))?;
    Ok(())
}

/// One node to a row; of what it has room for, what its tasks take.
fn table(nodes: &[Node]) -> String {
    let row = |node: &Node| {
        let NodeResources { cpu_units, memory_bytes, tasks } = node.used;
        let attributes: Vec<String> =
            node.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        [
            node.id.to_string(),
            if node.draining { "DRAINING" } else { "ACTIVE" }.to_owned(),
            format!("{cpu_units} of {}", node.room.cpu_units),
            format!("{} of {}", human::bytes(memory_bytes), human::bytes(node.room.memory_bytes)),
            format!("{tasks} of {}", node.room.tasks),
            format!("{} CPU, {} memory", node.overcommit_cpu, node.overcommit_memory),
            output::or_none((!attributes.is_empty()).then(|| attributes.join(" "))),
        ]
    };
    let header = ["NODE", "STATUS", "CPU UNITS", "MEMORY", "TASKS", "OVERCOMMIT", "ATTRIBUTES"];
    output::columns(header, nodes.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_in_a_table() {
        let resources = |cpu_units, memory_bytes, tasks| NodeResources { cpu_units, memory_bytes, tasks };
        let node = Node {
            id: "local".parse().unwrap(),
            attributes: [
                ("skiff.os-type".parse().unwrap(), "linux".parse().unwrap()),
                ("zone".parse().unwrap(), "a".parse().unwrap()),
            ]
            .into(),
            capacity: resources(2_048, 4 << 30, 100),
            overcommit_cpu: "4".parse().unwrap(),
            overcommit_memory: "1.5".parse().unwrap(),
            room: resources(8_192, 6 << 30, 100),
            used: resources(256, 128 << 20, 1),
            draining: false,
        };
        let bare = Node { attributes: [].into(), draining: true, ..node.clone() };
        let text = table(&[node, bare]);
        let rows: Vec<Vec<&str>> =
            text.lines().map(|row| row.split("   ").map(str::trim).collect()).collect();
        let cells = |row: &[&str]| row.iter().filter(|cell| !cell.is_empty()).count();
        assert_eq!(rows.iter().map(|row| cells(row)).collect::<Vec<_>>(), [7, 7, 7], "{text}");
        for part in ["256 of 8192", "128MiB of 6.00GiB", "1 of 100", "4 CPU, 1.5 memory", "zone=a"] {
            assert!(text.lines().nth(1).is_some_and(|row| row.contains(part)), "{part} is missing in {text}");
        }
        assert!(text.lines().nth(2).is_some_and(|row| row.contains("DRAINING")), "{text}");
    }
}
