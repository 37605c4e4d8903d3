/* Written by train.py: the mean square error, in g^2, above which a window is not that of a healthy machine. */
#define LIMIT_G2 0.00755259f
