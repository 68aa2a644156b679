"""Arithmetic on pictures that know no file: conversion of samples, resizing, window filters."""
