# The source host stops answering just when the source has to be shut down: nobody knows whether it is off, so the planned failover gives up and the source stays in charge.
vm web on production

protect web from production to recovery
run web
fault at production.hypervisor.shutdown 8 times: fail-after
fail over web as planned
expect web in Ready
expect web on production running
expect web-replica off
faults are over
run web
