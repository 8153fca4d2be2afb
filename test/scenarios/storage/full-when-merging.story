# No room to merge a retired point into its parent: it stays hidden, is not listed, and goes when there is room.
vm web on production

protect web from production to recovery: keep 2
run web
write web vda 0-30 second
run web
write web vda 0-30 third
storage of recovery has 2.5 MiB left
run web
expect 2 points of web
storage of recovery has 100 MiB left
write web vda 0-3 fourth
run web
expect 2 points of web
