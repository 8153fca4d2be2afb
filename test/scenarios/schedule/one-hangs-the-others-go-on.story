# One VM's freeze hangs: the other VM of the job keeps its RPO, and the one that hangs is told about before it is late.
the scheduler runs
vm web on production
vm mail on production

protect web, mail from production to recovery: every 30 min
wait 2 min
fault at production.pointSource.freeze: hang
wait 40 min
the controller is killed
a controller starts
wait 5 min
expect the log to say rpo-breached
expect web in Ready
expect mail in Ready
