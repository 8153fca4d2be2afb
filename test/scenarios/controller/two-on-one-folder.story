# A second controller is started on the same data folder: it ends at once, and the first goes on as if nothing had been.
vm web on production

protect web from production to recovery
link between production and recovery carries 64 KiB a second
begin run web
wait 2 s
a controller starts
expect the log to say data-folder-in-use
until everything has settled
expect 1 point of web
