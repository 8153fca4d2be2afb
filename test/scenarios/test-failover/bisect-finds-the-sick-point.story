# The guest fell sick some points ago: bisection boots points two at a time, finds the newest one that passes, and pins it so that retention leaves it.
vm web on production

protect web from production to recovery: keep 6
run web
run web
write web vda 2 still fine
run web
web falls sick
run web
run web
run web
bisect web with http:80@30s
expect the log to say P3 is pinned
run web
run web
run web
run web
expect web in Ready
fail over web to P3 fencing by power-off
expect web-replica to hold still fine 2 in block 2 of vda
