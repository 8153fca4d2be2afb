# A point and a kept branch are exported while the chain goes on being used; the copies depend on nothing.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
write web-replica vda 5 precious
undo web
export P1 of web
export archive B1 of web
delete archive B1 of web
run web
expect 2 points of web
