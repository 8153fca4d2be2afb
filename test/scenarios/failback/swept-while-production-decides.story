# Production took over and a sweep comes by: what it has tracked since is kept, and the run after the commit moves only what changed.
vm web on production

protect web from production to recovery
run web
fail over web as planned
fail back web
switch web over
sweep
write web vda 6 by production after the switchover
commit the failback of web
expect web in Ready
run web
expect the log to say vda incremental 64.0 KiB
