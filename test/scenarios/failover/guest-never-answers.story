# The guest has no agent to answer with: the failover ends when the hypervisor says running, and says that there is no figure.
vm web on production: no agent

protect web from production to recovery
run web
fail over web fencing by power-off
expect the last operation succeeded
expect the log not to say answering after
undo web
