# A failback to a new VM fails before there is one: nothing of it is left, in its place or in the register.
hosts production, recovery, spare
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
scratch of recovery has 64 MiB left
fail back web to a new VM web-2 on spare
expect the last operation failed
expect web in Failover
scratch of recovery has 1024 MiB left
fail back web to a new VM web-2 on spare
expect web in ReadyToSwitch
