package main

func (b *bench) measureColdStart(folder string) {}
