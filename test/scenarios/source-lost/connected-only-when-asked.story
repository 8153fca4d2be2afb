# A failover beside a source that runs is a trial: the replica starts disconnected, and only an express wish connects it.
vm web on production

protect web from production to recovery
run web
fail over web
expect web-replica disconnected
undo web
fail over web accepting the duplicate
expect web-replica connected
expect web to be unfenced-source
undo web
expect web to be not unfenced-source
