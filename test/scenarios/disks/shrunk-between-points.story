# A disk shrinks: it is copied in full on a new base, because a shrunk layer in the middle would show stale data later; the other disk stays incremental.
vm web on production

protect web from production to recovery: keep 2
write web vda 100-120 in the part that goes
run web
disk vda of web becomes 4 MiB
run web
expect the log to say vda full
run web
run web
expect 2 points of web
