// Command coracle runs containers the Docker way on any Linux.
package main

func main() {}
