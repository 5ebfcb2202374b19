# requirements.txt names a package that does not exist, so no build gets here.
raise SystemExit("nobody should have started this")
