# Somebody wants to undo a failback while the replica's host does not answer: production is not stopped for nothing. Nor is it lost when production itself cannot be stopped: the replica is kept from starting again.
the scheduler runs
vm web on production

protect web from production to recovery: every 24 h
run web
fail over web fencing by power-off
fail back web
switch web over
recovery stops answering
undo the failback of web
expect the last operation failed with host-unreachable
expect web on production running
recovery answers again
fault at production.hypervisor.shutdown 5 times: fail
undo the failback of web
expect the last operation failed
expect web on production running
undo the failback of web
expect web-replica running
