# Fencing is asked for and the source host does not answer: no positive evidence, no failover; without a fence it is possible and said.
vm web on production

protect web from production to recovery
run web
production stops answering
fail over web fencing by power-off
expect the last operation failed with fence-failed
expect web in Ready
fail over web
expect web in Failover
expect web to be unfenced-source
production answers again
accept the duplicate of web on production
undo web
