# The target goes away between the last delta and the start: back to the source, which is started again without anybody asking.
vm web on production

protect web from production to recovery
run web
fault at recovery.store.createBranch 4 times: fail
fail over web as planned
expect the last operation failed
expect web in Ready
expect web on production running
run web
