# Two people fail over the same VM within a second, and a third asks for a run: one wish is granted, the others are told what is going on.
vm web on production

protect web from production to recovery
run web
begin fail over web fencing by power-off
begin fail over web
begin run web
until everything has settled
expect web in Failover
undo web
