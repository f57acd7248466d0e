from infnet.cli import program

program()
