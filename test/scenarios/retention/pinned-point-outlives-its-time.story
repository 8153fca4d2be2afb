# A pinned point is kept beyond what the policy wants; unpinned, the next run takes it.
vm web on production

protect web from production to recovery: keep 2
write web vda 1 pinned
run web
pin P1 of web
run web
run web
run web
expect 3 points of web
unpin P1 of web
run web
expect 2 points of web
