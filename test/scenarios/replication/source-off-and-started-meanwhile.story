# A powered-off source is read without standing in the way of its start: started meanwhile, the cycle is discarded.
vm web on production

link between production and recovery carries 100 KiB a second
protect web from production to recovery
shut down web
begin run web
wait 2 s
start web
until everything has settled
expect the last operation failed
expect web running
run web
expect 1 point of web
